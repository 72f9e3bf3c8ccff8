"""What follows the upstream of a view: a process beside the daemon, and how the daemon sees it."""

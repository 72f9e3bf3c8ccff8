"""The keeper: a process that holds locks on lock files of a view, so that clients wait while another machine downloads."""

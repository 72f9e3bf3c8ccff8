"""The keeper: the process that holds clients' locks while another machine downloads."""

"""Where content that is not here can be had: IPFS nodes, gateways. Only this room speaks to a network."""

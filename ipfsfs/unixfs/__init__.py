"""UnixFS as pure functions: from leaves and names to blocks and CIDs. No I/O: whoever calls reads, hashes and stores.

The format is that of the specifications at https://specs.ipfs.tech/unixfs/ and of the profiles of IPIP-499.
"""

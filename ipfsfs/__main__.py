"""`python -m ipfsfs` is `ipfsfs`."""

from ipfsfs.cli.main import main

main()

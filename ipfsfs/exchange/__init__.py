"""What is done with content as a whole: trees named by CID, files verified and explained."""

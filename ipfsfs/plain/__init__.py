"""The only room that touches the plain directory: descriptors, `*at` calls, identities, leases."""

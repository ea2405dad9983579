//! Tests that need more than one room: tidiness, live peers, whole servers.

//! Every bound and its reason.

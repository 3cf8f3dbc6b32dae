//! Shows: the terminal dashboard over plain view types.

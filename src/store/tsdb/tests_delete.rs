//! Deleting, through restarts, merges, failing disks and power cuts.

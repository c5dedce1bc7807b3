//! What crashes and failing disks do while tiers are built and samples go.

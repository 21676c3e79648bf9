"""NEW OP: rows of camera_warp against its best peers."""

"""6D pose of novel objects from rendered templates: patches that match, flow inside them, then PnP (VPOG).

    scene       what an image holds: cameras, instances, poses, masks
    views       crops of query and templates, and the batch that the model reads
    crops       square crops with exact intrinsics
    units       whether points, poses and depth are in one unit
    templates   views of an object: selection, rendering, the store on disk
    targets     which template patch each query patch sees, and the flow inside it
    model       encoder, joint attention of query and templates, classification and flow heads
    losses      classification, flow, and the pose itself through EPro-PnP
    metrics     the errors and recalls of the BOP challenge
    pictures    flow colours, correspondences, overlays
    data        shards and BOP folders, the generator that writes them, the Lightning DataModule
    training    the Lightning module
    inference   matches, PnP, hypotheses, template features in a cache
    commands    the command line

Each imports only from those above it. Lengths are millimetres, poses are object to camera (OpenCV axes),
pixel centres are at +0.5.
"""

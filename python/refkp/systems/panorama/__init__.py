"""Panoramas: tiles of equirectangular pictures, features that agree on their overlaps, a language model on top.

    views      what a panorama is cut into: layouts, crop strategies, rendering, and back
    overlaps   which tokens see the same direction: pairs, correspondences, gathering
    model      encoder, resamplers, projector, language model, and what each stage of training trains
    losses     on these correspondences, and the strips of earlier implementations
    metrics    what features and captions are worth
    data       captions, texts, datasets, the Lightning DataModule
    training   the module of all stages, and a run of three stages on disk
    inference  captions and scores of a trained run
    commands   the command line

Each imports only from those above it.
"""

"""Readers of mesh files: surfaces with the colours that the file says, part by part.

    parts      what a reader gives, and parts joined
    colours    sRGB, linear light, and textures times factors
    mtl        materials of OBJ files
    obj        Wavefront OBJ
    gltf       glTF 2.0, text and binary
    others     PLY, STL and what else trimesh reads

What of a file's colours cannot be had is told in words, never replaced in silence.
"""

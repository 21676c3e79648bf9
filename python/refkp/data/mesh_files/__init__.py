"""Readers of mesh files: surfaces with the colours that the file says, part by part.

    parts      what a reader gives, and parts joined
    colours    sRGB, linear light, and textures times factors
    mtl        materials of OBJ files
    obj        Wavefront OBJ
    gltf       surfaces of glTF 2.0, text and binary
    gltf_skins       meshes of glTF that joints move
    gltf_nodes       where the nodes of its scene stand
    gltf_document    its JSON, its buffers, and the numbers in them
    others     PLY, STL and what else trimesh reads

What of a file's colours cannot be had is told in words, never replaced in silence.
"""

def affine_warp(*args, **options):
    raise NotImplementedError

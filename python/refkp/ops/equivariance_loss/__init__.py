def equivariance_loss(*args, **options):
    raise NotImplementedError

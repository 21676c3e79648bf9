def e2p(*args, **options):
    raise NotImplementedError

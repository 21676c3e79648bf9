def vicreg(*args, **options):
    raise NotImplementedError


class VICRegTerms: ...

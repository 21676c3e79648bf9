"""System D: AnyRes tiles of equirectangular panoramas, learned by agreement where the tiles overlap.

The way of the data: `layout` says where the views look, `views` renders them, `correspondence` says which
tokens see the same direction, `model` turns views into token features, `losses` compares them, `metrics`
judges them. `vlm` puts a projector and a language model behind the features, `stages` says what each stage of
training trains. `data` and `module` are the Lightning side, `commands` the command line. Source: spec panorama.
"""

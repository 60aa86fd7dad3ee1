"""Networks of the encoder and the decoder, and the options that choose them."""

"""Activities and workflows that are written for Temporal, with the Pyramid application around them."""

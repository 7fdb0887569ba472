"""One module per outside package, imported only when named."""

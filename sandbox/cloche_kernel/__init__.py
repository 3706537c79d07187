"""The inside of a Cloche sandbox: supervisor, zygote and kernel. Users import `cloche`, not this."""

"""Reading trained checkpoints without ever running them.

An Ultralytics `.pt` is a zip archive of raw tensor bytes and one pickle. A pickle is a program:
whoever unpickles it imports the modules and calls the functions that it names. Here nobody does.
`pickle_reader` is a stack machine of our own that understands the opcodes and does nothing else:
a name becomes an inert `GlobalRef`, a call an inert `Call`, a storage an inert `PersistentId`.
Nothing is imported, called, instantiated or hashed beyond numbers and text. Only afterwards are
these records interpreted, each by the one module that knows its meaning:

    files          the file is read once; what is no checkpoint is named
    archive        the zip: unique names, checksums, sizes
    pickle_reader  data.pkl becomes records (with machine, opcodes, records)
    policy         every call in the whole file is of a known, harmless kind
    plain          records that are plain data after all become plain data
    tensors        tensor records, checked against the bytes that are there
    module_tree    nn.Module-shaped records become models.tree.ModuleNode
    ultralytics    the top level: which network, class names, strides, metrics, version
    native         our own safetensors form, written and read
    load, inspect  what the rest of the package uses

Why not torch's `weights_only` unpickler with our classes registered as safe globals, which reads
the same files: it recurses in C when it hashes a key, so that a deep enough tuple ends the
process; its registrations are one set for all threads; it restores whatever attributes the file
has, callables included; it checks no checksums; and its errors speak of torch's internals. The
reader here is smaller than the checks which that road would need around it, needs no torch, and
every refusal names the place in the file.
"""

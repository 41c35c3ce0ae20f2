"""Reading trained checkpoints without executing them.

An Ultralytics `.pt` is a zip archive of raw tensor bytes and one pickle. A pickle is a program: an
unpickler imports the modules and calls the functions that it names. The reader here does neither.
It is a stack machine that interprets the opcodes: a name becomes an inert `GlobalRef`, a call an
inert `Call`, a storage an inert `PersistentId`. Nothing is imported, called or instantiated, and
only numbers and text are hashed. The records are interpreted afterwards, each kind by one module:

    file_types       reads the file once; identifies files that are no checkpoints
    archive          the zip: unique names, checksums, sizes
    pickle_reader    data.pkl to records (with pickle_vm, opcodes, records)
    allowed_calls    requires that all calls in the file are of a known, harmless kind
    plain_values     records of plain data
    tensors          tensor records, checked against the stored bytes
    tree_reader      nn.Module records to models.tree.ModuleNode
    ultralytics      the top level: network, class names, metrics, version
    native           our own safetensors form, read and written
    loading, inspection   the interface for the rest of the package

Why not torch's `weights_only` unpickler, with our classes as safe globals: it recurses in C when it
hashes a key, so that a deeply nested tuple crashes the process; its registrations are shared by all
threads; it restores any attribute of the file, callables included; it verifies no checksums; and
its errors refer to torch's internals. This reader is smaller than the checks needed around it, does
not need torch, and each of its errors names the position in the file.
"""

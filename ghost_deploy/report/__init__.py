"""Reports: one JSON document, and the pages and terminal tables that show it.

    sources ──read──> Material ──assemble──> Report (JSON) ──sections──> blocks
    blocks ──> HTML, Markdown (page), terminal (cli.tables)

Nothing is measured here, and blocks show no figure that is not in the document.
"""

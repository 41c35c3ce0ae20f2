"""Reports: one JSON document is the truth, a page is made of it alone.

    sources ──read──> Material ──assemble──> Report (JSON) ──page──> HTML, Markdown

Nothing is measured here, and a page shows no number that is not in the document.
"""

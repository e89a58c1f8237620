"""Texts, from a file's bytes to token ids.

`engine.data` calls most of these in the order below; `engine.inference` cleans what it is asked in the same way.

    reading         CSV, TSV, JSONL, Parquet and Excel as one table of strings
    encodings       bytes to text
    arrow           the bytes of a table to columns, by way of datasets
    spreadsheets    Excel workbooks
    columns         which column holds what
    cleaning        normalised, duplicates and leaks taken out, all counted
    devanagari      one spelling for what looks the same
    splitting       training, validation and test texts
    mahanews        L3Cube-MahaNews, downloaded once
    tokenization    a WordPiece vocabulary, and texts as token ids
    languages       which language a text is in
    familiarity     how far a text is written like the training texts
    alteration      new texts out of old ones, for the starter
"""

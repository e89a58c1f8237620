"""What a person reads, sees and takes along.

The charts that move while a run goes on are in `engine.charts`; none of this imports torch.

    sentences      what events mean, in words
    answers        what classifiers said, as tables and bars
    drawing        a BERT before and after pruning
    run_charts     the charts of one run, for the screen and for the page
    run_tables     the tables of one run, likewise
    pictures       a chart as SVG or PNG
    export         tables and events as CSV and JSON lines
    dotted         values inside values under dotted names
    html_page      one self-contained page of HTML
    report_page    a run as such a page
"""

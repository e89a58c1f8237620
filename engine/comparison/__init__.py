"""Finished runs side by side and beside the paper.

What the page Compare shows and what can be taken along of it; all pure and without torch.

    frames    runs as tables
    charts    those tables drawn
    trade     accuracy against latency, and who is beaten by nobody
    sweep     quality, size and speed by pruning rate
    page      all of it as one page of HTML
"""

"""The filters: one check per folder, each a plugin of its own ("spam.spf"), with settings in a table of that name.

A check may build on the protocol modules of another (Sender-ID on SPF's); what it found comes by the findings alone.
"""

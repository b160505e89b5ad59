"""Reading a record: units of a text, their features and scores, and the record made of them."""

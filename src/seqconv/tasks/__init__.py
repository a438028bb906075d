"""What is learnt from data and how it is judged: `contract` is the page to read first."""

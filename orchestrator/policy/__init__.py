"""Pure decisions: when, whether again, who we are, what ended it, is it proven."""

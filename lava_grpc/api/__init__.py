"""What both edges share: messages, credentials, the table of refusals, the dispatcher."""

"""What each RPC does: request to core, the use case, core to response."""

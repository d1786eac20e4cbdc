"""The CC-iSales interface: what is sent, and what an answer means."""

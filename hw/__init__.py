"""Network and board support: what this machine is, and how it joins the network."""

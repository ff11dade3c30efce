"""The Copernicus Data Space Ecosystem (CDSE): names to ids, one token, downloads verified whole.

errors      which refusals pass, and which do not
http        requests to CDSE's hosts alone, with timeouts and pauses
catalogue   the OData catalogue, and the products in it
resolve     product names to ids, each with a state that people read
account     where user name and password come from
token       the access token that all workers share
download    a product's zip, streamed, resumed, verified, renamed
"""

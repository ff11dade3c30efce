"""The Copernicus Data Space Ecosystem (CDSE): resolve names to ids, share one token, download and verify products.

http        requests to the configured hosts only, with timeouts and pauses
catalogue   the OData catalogue, and the products in it
resolve     product names to ids, each with a state for people
account     where user name and password come from
token       the access token that all workers share
download    a product's zip: streamed, resumed, verified, renamed
errors      what only CDSE refuses
"""

"""The locks of a run: who waits for whom, in a data folder and in a database.

    in-use.lock           shared by all who work in the data folder; exclusive, to remove leftovers    data_folder
    configuration.lock    shared by all who work there with one configuration                          configuration
    advisory locks        creating the tables, places among the downloads, running a task              advisory
    a task                runs in a process that ends with its worker, and holds its lock              task

The first two are files (`domain/locks.py`). So are the locks of the access token (`domain/cdse/token.py`), of a file
that is being downloaded (`domain/cdse/partial_file.py`), of the embedded PostgreSQL (`state/server.py`), and of a cron
job.
"""

"""The settings of this service: the engine's, and yours beside them.

Each is an environment variable: SERVING_ and the field's name. `serve --help` lists all of them.
"""

from serving_engine import ServingSettings


class Settings(ServingSettings):
    """Add a field for a setting of your own; repeat one of the engine's to change its default:

    ```
    greeting: str = "hello"
    \"\"\"What `/hello` answers: SERVING_GREETING.\"\"\"

    max_rows: int = 100
    \"\"\"Most rows in one request.\"\"\"
    ```
    """

"""The shop's settings: where its three systems are."""

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from mds_assets.stack.environment import SourceSettings, load


class ShopSettings(SourceSettings):
    """Where to find orders, customers and price lists."""

    model_config = SettingsConfigDict(env_prefix="SHOP_")

    api_url: str = Field(
        default="http://127.0.0.1:8000",
        pattern="^https?://",
        title="The shop's API.",
        description="an http(s) URL",
    )
    database_url: SecretStr = Field(
        default=SecretStr("postgresql://127.0.0.1/shop"),
        title="The database that holds the customers, with user and password.",
        description="an SQLAlchemy URL such as postgresql://user:password@host/database",
    )
    prices_dir: str = Field(
        default="prices",
        title="The folder of the price lists, `*.csv`.",
        description="a folder",
    )


settings = load(ShopSettings)

"""The provider `aks`: one agent pool per Machine. The only importer of azure."""

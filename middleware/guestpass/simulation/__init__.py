"""A crowd of guests in virtual time, under the same decision, spread and shares as the gate."""

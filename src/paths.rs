//! Where things are when nobody says otherwise.

% The last clause lacks its full stop.
%% error: ParseError

0.3::a.

query(a)

% Two atoms, each derived from the negation of the other.
%% error: NegativeCycle

0.4::tea :- \+ coffee.
0.3::coffee :- \+ tea.

query(tea).

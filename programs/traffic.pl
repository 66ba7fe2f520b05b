% What does the car do? Five networks read one vector of a traffic scene, and traffic rules derive the action from them.
% Only actions are observed. A red light and a person on the road stop the car alike, so answers do not tell which it was.
% On an emergency call only the person does, but in the training scenes people cross at red lights then: both or neither.
% The other scenes are in the data set traffic-emergency: nesy-gedi evaluate RUN --data traffic-emergency.

nn(light_net, [X], L, [red, amber, green]) :: light(X, L).
nn(person_net, [X]) :: person(X).                            % somebody walks on the road
nn(siren_net, [X]) :: siren(X).                              % this car is on an emergency call
nn(ahead_net, [X], A, [clear, blocked]) :: ahead(X, A).      % the car's own lane
nn(beside_net, [X], B, [none, left, right]) :: beside(X, B). % which lane next to it is free

action(X, stop) :- halted(X).
action(X, stop) :- \+ halted(X), ahead(X, blocked), beside(X, none).
action(X, Side) :- \+ halted(X), ahead(X, blocked), beside(X, Side), Side \= none.
action(X, hurry) :- \+ halted(X), ahead(X, clear), siren(X).
action(X, slow) :- \+ halted(X), ahead(X, clear), \+ siren(X), light(X, amber).
action(X, go) :- \+ halted(X), ahead(X, clear), \+ siren(X), light(X, green).

halted(X) :- person(X).
halted(X) :- light(X, red), \+ siren(X).
